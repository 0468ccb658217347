"""One function an operation: rules, and the statements that write."""
