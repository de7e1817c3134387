"""Methods whose values are no table but a function of features: one textbook file each."""
