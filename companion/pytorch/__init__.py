"""The methods of the book in PyTorch. Importing this package never loads TensorFlow."""
