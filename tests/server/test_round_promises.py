"""What a round's head promises is found on what the round held out."""

from contextlib import closing

import pytest
from test_round_work import Line, item, order

from checkpoints import save_encoder
from honed_adapt.encoders.store import import_encoder
from honed_adapt.feedback.log import FeedbackLog
from honed_adapt.feedback.reader import FeedbackReader
from honed_adapt.instant.lane import Lane, Row
from honed_server.learning.adapt_main import make_encode
from honed_server.rounds.work import RoundWork


def test_its_head_is_judged_by_what_was_held_out(tmp_path):
    (tmp_path / "adapt").mkdir()
    digest = import_encoder(save_encoder(tmp_path / "source"), tmp_path)
    with closing(FeedbackLog(tmp_path / "feedback.sqlite")) as log:
        log.submit([item(n) for n in range(450)]).result()
    line = Line()
    RoundWork(tmp_path, order(digest), line, {}).run()
    (offer,) = line.candidates()
    with FeedbackReader(tmp_path / "feedback.sqlite") as reader:
        _, entries = reader.counting("m", None)
    hidden, encode = make_encode(tmp_path, offer.encoder_digest)
    temperatures = {}
    for tuned in (False, True):
        lane = Lane(hidden, tuned=tuned)
        lane.rebuild(Row.of(entry, encode([entry.text])[0]) for entry in entries)
        temperatures[tuned] = lane.head.temperature
    assert offer.head.temperature == pytest.approx(temperatures[True], rel=1e-3)
    assert temperatures[False] != pytest.approx(temperatures[True], rel=1e-2)
