"""Files written whole, by one writer, sealed, with the fingerprint of what made them."""
