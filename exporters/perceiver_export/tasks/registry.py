"""The graphs of each task, by its name."""

from __future__ import annotations

from collections.abc import Callable

from perceiver_export.graph_spec import GraphSpec
from perceiver_export.tasks.audio import audio_classification_graphs
from perceiver_export.tasks.features import features_graphs
from perceiver_export.tasks.flow import flow_graphs
from perceiver_export.tasks.image import image_classification_graphs
from perceiver_export.tasks.multimodal import multimodal_graphs
from perceiver_export.tasks.text import fill_mask_graphs, text_classification_graphs
from perceiver_export.tasks.tokens import token_classification_graphs
from perceiver_io.tasks.installed import Installed

GROUP = "perceiver.graphs"  # of entry points: the task's name = "module:function"
GRAPHS: Installed[Callable[..., list[GraphSpec]]] = Installed(
    GROUP,
    {
        "flow": flow_graphs,
        "fill-mask": fill_mask_graphs,
        "text-classification": text_classification_graphs,
        "token-classification": token_classification_graphs,
        "image-classification": image_classification_graphs,
        "audio-classification": audio_classification_graphs,
        "multimodal": multimodal_graphs,
        "features": features_graphs,
    },
)
