"""A lesson of the lab, as a panel."""
