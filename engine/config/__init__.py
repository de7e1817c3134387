"""What a preset says, as typed data. Nothing here builds or trains anything."""
