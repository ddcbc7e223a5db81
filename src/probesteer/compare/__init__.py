"""What models have in common: agreement, transfer of directions, where they emerge, what they cause."""
