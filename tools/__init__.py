"""Small scripts that keep the book true: run its notebooks, compare them, check its pages."""
