"""Sonic Visualiser's layers, and its CSV that does not say which."""

import pytest


def svl(model, *points):
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE sonic-visualiser>\n<sv><data>'
        f'<model id="1" sampleRate="1000" type="sparse" {model}/><dataset id="0">{"".join(points)}</dataset>'
        "</data></sv>"
    )


REGION = '<point frame="1500" value="1" duration="500" label="owl" />'
BOX = '<point frame="1500" value="100" duration="500" extent="50" label="owl" />'


@pytest.mark.parametrize(("model", "point", "low"), [
    ('dimensions="3" subtype="region"', REGION, None),
    ('dimensions="3" subtype="note" units="Hz"', REGION, None),
    ('dimensions="2" subtype="box" units="Hz"', BOX, 100),
    ('dimensions="2" subtype="box" units="bin"', BOX, None),
])  # fmt: skip
def test_frames_are_counted_by_the_sample_rate(read_all, model, point, low):
    event = read_all(svl(model, point)).events[0]
    assert (event.start, event.end, event.label, event.low) == (1.5, 2.0, "owl", low)


def test_instants_are_points(read):
    assert read(svl('dimensions="1"', '<point frame="1500" label="tick"/>')) == [("a.wav", 1.5, 1.5, "tick")]


@pytest.mark.parametrize(("text", "reason"), [
    (svl('dimensions="2"', '<point frame="1" value="3" label="x"/>'), "not a layer of events"),
    (svl('dimensions="1"').replace("sparse", "dense"), "not a layer of events"),
    (svl('dimensions="1"', '<point frame="x" label="a"/>'), "not a number"),
    (svl('dimensions="1"', REGION).replace('"1000"', '"0"'), "not a number"),
])  # fmt: skip
def test_other_layers_are_refused(refused, text, reason):
    refused(text, reason)


@pytest.mark.parametrize(("layer", "line", "expected"), [
    ("regions", "1.5,7,2.5,owl", (1.5, 4.0, None)),
    ("boxes", "1.5,2.5,100,150,owl", (1.5, 2.5, 100)),
    ("notes", "1.5,440,2.5,0.9,owl", (1.5, 4.0, None)),
])  # fmt: skip
def test_csv_is_read_as_the_layer_that_is_named(read_all, refused, layer, line, expected):
    event = read_all(line + "\n", name="a.csv", layer=layer).events[0]
    assert (event.start, event.end, event.low) == expected
    refused(line + "\n", "layer not named", "--layer", name="a.csv")


def test_csv_of_another_width_is_refused(refused):
    refused("1.5,2.5\n", "row longer than the header", layer="regions")
    refused("1.5,2,owl,x\n", "not a number", layer="regions")
