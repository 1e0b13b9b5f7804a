"""`make rehearse`: the deployment to AWS, on this machine: Zappa's own command, the deployed zip, AWS's own runtime."""
