"""Who somebody is: Cognito users, their rights, their addresses."""
