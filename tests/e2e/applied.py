"""The column `applied` of a prediction, read by the very code of docs/clients.md that users copy."""

import base64
import json
import re

from conftest import ROOT

CODE = re.search(r"```python\n(def applied.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.S)[1]
SCOPE = {"base64": base64, "json": json}
exec(compile(CODE, "docs/clients.md", "exec"), SCOPE)
applied = SCOPE["applied"]
