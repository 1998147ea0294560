"""What runs inside the sandbox, on the tree itself, with the tools tree's interpreter (Python 3.13)."""
