"""What a feature is: the data contract, the feature spec and its two executions, offline and online."""
