"""Policies: what can be asked for, and how a setting that cannot is named."""

import pytest

from honed_adapt.gate.policy import Policy, PolicyError


def test_settings_may_come_as_text() -> None:
    policy = Policy.of({"promotion": "manual", "alpha": "0.01", "keep_worse": "true"})
    assert (policy.promotion, policy.alpha, policy.keep_worse) == ("manual", 0.01, True)
    assert policy.loss_share == Policy().loss_share
    assert Policy.of(policy.as_dict()) == policy


@pytest.mark.parametrize(
    ("settings", "field", "why"),
    [
        ({"alfa": 0.1}, "alfa", "did you mean 'alpha'?"),
        ({"alpha": 0}, "alpha", "above 0 and at most 0.5"),
        ({"alpha": "much"}, "alpha", "no number"),
        ({"alpha": True}, "alpha", "no float"),
        ({"promotion": "always"}, "promotion", "default, superior, manual"),
        ({"canary_share": 0.6}, "canary_share", "0 to 0.5"),
        ({"keep_worse": "perhaps"}, "keep_worse", "no bool"),
        ({"coverage": 1}, "coverage", "between 0 and 1"),
        ({"round_labels": -1}, "round_labels", "negative"),
        ({"round_interval_s": float("inf")}, "round_interval_s", "a time"),
    ],
)
def test_a_setting_that_cannot_be_followed_is_named(
    settings: dict[str, object], field: str, why: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.of(settings)
    assert caught.value.field == field
    assert why in str(caught.value)
