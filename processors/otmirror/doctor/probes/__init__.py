"""What the doctor looks at: a module a neighbour. Nothing here writes, and nothing waits for more than some seconds."""
