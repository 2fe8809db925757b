"""Prints the corpus, one JSON document a line: the configuration, the key documents, then each case that reaches the filter.

`python -m attacks --markdown` prints docs/attacks.md instead.
"""

import base64
import json
import sys

from . import corpus
from .page import markdown

world = corpus()
if sys.argv[1:] == ["--markdown"]:
    print(markdown(world), end="")
else:
    print(json.dumps({"now": world.now, "config": world.plugin()}))
    for path, body in world.documents.items():
        print(json.dumps({"path": path, "body": base64.b64encode(body).decode()}))
    for case in world.cases:
        if case.envoy is None:
            print(json.dumps(case.as_json()))
