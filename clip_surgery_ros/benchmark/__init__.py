"""What a frame costs, beside what the same work costs with the packages as they come."""
