"""What the performance claims of this project are measured with."""
