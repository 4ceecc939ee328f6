"""transformers' own OnnxExporter beside ours, on one composition of its parts: what each gives, and that both are right."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_from_transformers import CONFIG, classification, filled
from transformers import PerceiverModel
from transformers.models.perceiver import modeling_perceiver as theirs

import perceiver_deploy as pd
import perceiver_io as pio
import perceiver_runtime as pr
from perceiver_runtime.bundle.reader import open_bundle

IDS = torch.randint(6, 200, (1, 11), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_one_graph_of_one_size_and_two_of_any(tmp_path: Path) -> None:
    """Its default is one graph with the example's batch and length; a bundle encodes and decodes any of both."""
    exporter = pytest.importorskip("transformers.exporters.exporter_onnx")
    model = filled(
        PerceiverModel(CONFIG, input_preprocessor=theirs.PerceiverTextPreprocessor(CONFIG), decoder=classification())
    )
    given = {"inputs": IDS, "attention_mask": torch.ones_like(IDS)}
    expected = model(**given).logits[0].numpy()

    exported = exporter.OnnxExporter().export(model, given, config=exporter.OnnxConfig())
    assert list(exported.components) == ["model"]
    shapes = {value.name: value.shape.numpy() for value in exported.program.graph.inputs}
    assert shapes == {"inputs": (1, 11), "attention_mask": (1, 11)}
    np.testing.assert_allclose(exported(**given).logits[0], expected, rtol=0, atol=2e-5)

    inputs, outputs = {"inputs": pd.Text(40, mask="mask")}, {"logits": pd.Labels(("a", "b", "c"))}
    pd.export_model(pio.from_transformers(model), tmp_path / "bundle", inputs=inputs, outputs=outputs)
    graphs = open_bundle(tmp_path / "bundle").manifest.graphs
    assert sorted(graphs) == ["decode", "encode"]
    assert [spec.shape for spec in graphs["encode"].inputs] == [("B", "L"), ("B", "L")]
    with pr.load(tmp_path / "bundle") as classify:
        longer = [IDS[0].numpy(), *(np.arange(6, 6 + length) for length in (3, 40))]
        latents = []
        for ids in longer:
            found = classify.encode_inputs({"input_ids": ids[None], "attention_mask": np.ones_like(ids)[None]})
            latents.append(np.asarray(found[0]))
        logits = np.asarray(classify.outputs("decode", {"latents": np.concatenate(latents)})[0])
    np.testing.assert_allclose(logits[0], expected, rtol=0, atol=2e-5)
    for ids, answer in zip(longer, logits):
        np.testing.assert_allclose(answer, model(torch.from_numpy(ids)[None]).logits[0].numpy(), rtol=0, atol=2e-5)
    assert np.abs(logits[0] - logits[1]).max() > 1e-2
