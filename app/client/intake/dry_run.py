"""What would be sent, and why the rest would not; nothing is sent or written."""

import json
import sys
from collections.abc import Iterable

from app.client.intake.errors import OK, SOME_FAILED, NotUsable
from app.client.intake.files import Selected
from app.client.intake.handle import Plan
from app.client.intake.ledger import Ledger
from app.client.intake.read import Unreadable, read
from app.client.intake.records import Key, Outcome
from app.client.intake.report import shown


def dry_run(selection: Iterable[Selected], ledger: Ledger, plan: Plan, *, as_json_lines: bool) -> int:
    """List a selection on standard output, judged by the model that answered last.

    Returns:
        The exit code: 1 if some file cannot be sent.

    Raises:
        NotUsable: No file is selected.
    """
    model_digest = ledger.last_model()
    counts = {"send": 0, "skip": 0, "fail": 0}
    files = 0
    for selected in selection:
        action, reason = _action(selected, ledger, model_digest, plan)
        counts[action] += 1
        files += not selected.skip
        if as_json_lines:
            line = json.dumps({"path": selected.given, "action": action, "reason": reason or None})
        else:
            line = f"{action}  {shown(selected.given)}{reason and ': ' + reason}"
        sys.stdout.write(line + "\n")
    if not files:
        raise NotUsable("No file is selected.")
    if not as_json_lines:
        sys.stdout.write(f"{counts['send']} would be sent, {counts['skip']} not, {counts['fail']} cannot be\n")
    return SOME_FAILED if counts["fail"] else OK


def _action(selected: Selected, ledger: Ledger, model_digest: str, plan: Plan) -> tuple[str, str]:
    if selected.skip:
        return "skip", selected.skip.value
    if selected.problem:
        return "fail", selected.problem
    try:
        content = read(selected.path, plan.max_file_bytes)
    except Unreadable as error:
        return "fail", str(error)
    known = ledger.find(Key(selected.path, content.sha256, model_digest, plan.options))
    if known and not (known.outcome is Outcome.REFUSED and plan.retry_failed):
        return "skip", f"{known.outcome} {known.recorded_at} by the model that answered last"
    return "send", ""
