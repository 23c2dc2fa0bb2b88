"""Classes go by name; where names don't fit, nothing is guessed."""

from __future__ import annotations

import pytest

from yolo_ema.errors import ConfigError
from yolo_ema.evaluate.class_map import distinct_names, map_classes

DATA = ("pedestrian", "car", "awning-tricycle")


def test_classes_match_by_name_whatever_the_numbers():
    assert map_classes({0: "car", 1: "awning-tricycle", 2: "pedestrian"}, DATA) == {
        0: 1,
        1: 2,
        2: 0,
    }


def test_names_may_differ_in_case_spaces_hyphens_and_underscores():
    assert map_classes({4: "Pedestrian", 5: "CAR", 6: "awning_tricycle"}, DATA) == {
        4: 0,
        5: 1,
        6: 2,
    }
    assert map_classes({0: "pedestrian", 1: "car", 2: "awning tricycle"}, DATA)[2] == 2


def test_classes_that_the_data_lacks_are_left_out():
    assert map_classes({0: "dog", 1: "pedestrian", 2: "car", 3: "awning-tricycle"}, DATA) == {
        1: 0,
        2: 1,
        3: 2,
    }


def test_a_person_is_not_a_pedestrian_by_default():
    coco = {0: "person", 2: "car", 7: "truck"}
    with pytest.raises(
        ConfigError, match=r"no class named pedestrian, awning-tricycle; .* --map person=pedestrian"
    ):
        map_classes(coco, DATA)
    assert map_classes(coco, DATA, ("person=pedestrian",)) == {0: 0, 2: 1}


def test_several_may_count_as_one_and_a_pair_beats_the_name():
    assert map_classes({0: "car", 1: "truck"}, DATA, ("truck=car", "car=pedestrian")) == {
        0: 0,
        1: 1,
    }


def test_weights_without_names_get_an_example():
    with pytest.raises(ConfigError, match="--map class0=pedestrian"):
        map_classes({0: "class0", 1: "class1", 2: "class2"}, DATA)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            "persn=pedestrian",
            r"the weights have no class 'persn'; they have person, car; did you mean 'person'",
        ),
        ("person=pedestrain", r"the data has no class 'pedestrain'.* did you mean 'pedestrian'"),
    ],
)
def test_unknown_names_in_a_pair_name_the_closest(pair, message):
    with pytest.raises(ConfigError, match=message):
        map_classes({0: "person", 1: "car"}, DATA, (pair,))


def test_classes_that_share_a_name_go_by_their_order():
    assert map_classes({0: "car", 1: "Car", 2: "bus"}, ("bus", "car", "car")) == {0: 1, 1: 2, 2: 0}
    assert map_classes({0: "car", 1: "car"}, ("car",)) == {0: 0, 1: 0}


@pytest.mark.parametrize("weights", [{0: "car"}, {0: "car", 1: "car", 2: "car"}])
def test_another_number_of_classes_of_one_name_is_an_error(weights):
    with pytest.raises(ConfigError, match=r"2 classes of the data are named 'car', and \d of the"):
        map_classes(weights, ("car", "car"))


def test_names_that_distinguish_classes():
    assert distinct_names(("car", "bus")) == ("car", "bus")
    assert distinct_names(("car", "bus", "car")) == ("car (class 0)", "bus", "car (class 2)")
