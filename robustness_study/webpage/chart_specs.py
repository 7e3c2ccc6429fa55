"""Vega-Lite specifications of the charts: how rows are drawn. assets/charts.js adds the rows, colours and sizes."""

from __future__ import annotations

from typing import Any

INTERVAL = [
    {"field": "model", "type": "nominal", "title": "model"},
    {"field": "text", "type": "nominal", "title": "accuracy"},
    {"field": "over", "type": "nominal", "title": "interval over"},
    {"field": "n", "type": "quantitative", "title": "seeds"},
]
MODEL = {"field": "model", "type": "nominal", "sort": None, "title": None}


def accuracy_axis(field: str = "mean", title: str = "accuracy") -> dict[str, Any]:
    """An encoding of an accuracy, from 0 to 1."""
    return {"field": field, "type": "quantitative", "title": title, "scale": {"domain": [0, 1]}}


def bars() -> dict[str, Any]:
    """A bar with its interval for each model."""
    x = {**MODEL, "axis": {"labelAngle": -30}, "scale": {"paddingInner": 0.5, "paddingOuter": 0.3}}
    colour = {**MODEL, "legend": None}
    bar = {"x": x, "y": accuracy_axis(), "color": colour, "tooltip": INTERVAL}
    interval = {"x": x, "y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}, "tooltip": INTERVAL}
    return {
        "layer": [
            {"mark": "bar", "encoding": bar},
            {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": interval},
        ]
    }


def lines(field: str, title: str) -> dict[str, Any]:
    """A line with its interval for each model, against a field."""
    x = {"field": field, "type": "ordinal", "title": title, "axis": {"labelAngle": 0}}
    tooltip = [{"field": field, "title": title}, *INTERVAL]
    line = {"x": x, "y": accuracy_axis(), "color": MODEL, "shape": MODEL, "tooltip": tooltip}
    band = {"x": x, "y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}, "color": MODEL}
    return {
        "layer": [
            {"mark": {"type": "area", "opacity": 0.12}, "encoding": band},
            {"mark": {"type": "line", "point": {"size": 50}}, "encoding": line},
        ]
    }


def reliability() -> dict[str, Any]:
    """Accuracy against confidence; on the diagonal, a model is as often right as it says."""
    of_bin = {
        "x": accuracy_axis("confidence", "mean confidence of the images in a bin"),
        "y": accuracy_axis("accuracy", "accuracy of these images"),
        "color": MODEL,
        "tooltip": [{"field": name} for name in ("model", "confidence", "accuracy", "images")],
    }
    images = {"field": "images", "type": "quantitative", "legend": None, "scale": {"range": [8, 260]}}
    diagonal = {axis: {"field": "at", "type": "quantitative"} for axis in ("x", "y")}
    return {
        "layer": [
            {
                "data": {"values": [{"at": 0}, {"at": 1}]},
                "mark": {"type": "line", "strokeDash": [4, 4], "color": "#888"},
                "encoding": diagonal,
            },
            {"mark": {"type": "line", "opacity": 0.5}, "encoding": of_bin},
            {"mark": {"type": "point", "filled": True}, "encoding": {**of_bin, "size": images}},
        ]
    }


def training() -> dict[str, Any]:
    """A line for each model, against the epoch."""
    encoding: dict[str, Any] = {
        "x": {"field": "epoch", "type": "quantitative", "title": "epoch", "axis": {"tickMinStep": 1, "format": "d"}},
        "y": accuracy_axis("accuracy"),
        "color": MODEL,
        "detail": {"field": "run"},
        "tooltip": [{"field": name} for name in ("run", "epoch", "accuracy")],
    }
    return {"mark": {"type": "line", "point": {"size": 20}}, "encoding": encoding}
