"""What is measured of trained members: accuracy and loss by position, and the records that hold them."""
