"""What the attention term does, and where a network looks."""
