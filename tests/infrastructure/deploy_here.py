"""`python -m infrastructure.deploying` to the AWS of stage_here.py, which no stage of config.py says it belongs to."""

import sys
from dataclasses import replace

from infrastructure import config

if __name__ == "__main__":
    config.STAGES = {name: replace(stage, account="") for name, stage in config.STAGES.items()}
    from infrastructure.deploying.__main__ import main

    sys.exit(main())
