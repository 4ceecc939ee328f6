"""What `make test` leaves to `make test-more`: files and tests that took ten seconds and more on two quiet cores.

`pytest --durations=40` says what has become slow. Markers in the files themselves are for what is in `make test-all` alone.
"""

FILES = frozenset(
    {
        "another_perceiver",
        "added_tokens",
        "clean_room",
        "detection_and_questions",
        "device",
        "documentation",
        "eight_bits_tensorrt",
        "export_graphs",
        "fallback",
        "faults",
        "flow_reference",
        "foreign_attention",
        "from_transformers",
        "fuzz",
        "heads_device",
        "jetson_page",
        "load",
        "memory_plan",
        "onnx_exporter",
        "openvino",
        "outside_task",
        "own_heads",
        "own_inputs",
        "pages_format",
        "passes_cuda",
        "passes_fold",
        "passes_tensorrt",
        "precision",
        "ray",
        "recipes",
        "ray_jobs",
        "serve",
        "serve_page",
        "serve_raw",
        "shipped_clips",
        "shipped_commands",
        "shipped_digits",
        "shipped_fields",
        "shipped_text",
        "sound_and_video",
        "telemetry",
        "tensorrt_graphs",
        "tensorrt_rtx",
        "tensorrt_cache",
        "tensorrt_run",
        "token_classification",
        "triton",
        "triton_processing",
        "triton_explicit",
        "which_gpu",
        "wire",
    }
)
TESTS = frozenset(
    {
        "answering::test_every_task_s_sample",
        "amounts::test_a_clip_in_a_budget",
        "bench_load::test_a_real_run",
        "checkpoint_folders::test_the_task_is_the_checkpoints_own",
        "cli_export::test_a_field_that_ignores_its_input_fails_verification",
        "cli_export::test_a_wrong_graph_fails_verification",
        "cli_export::test_a_crash_of_the_child_is_a_failed_verification",
        "cli_export::test_a_failed_verification_is_exit_code_3",
        "cli_export::test_a_missing_memory_plan_is_said",
        "cli_export::test_export_by_command",
        "cli_export::test_force_replaces_a_bundle",
        "cli_export::test_interrupting_leaves_no_bundle",
        "cli_export::test_killed_outright",
        "benchmarks::test_a_case_beside_torch",
        "cli_export::test_the_shipped_checkpoint_is_announced",
        "cli_export::test_verification_imports_nothing_from_the_checkpoint",
        "cli_paths::test_one_bad_picture_among_three",
        "cli_paths::test_one_bad_text_among_three",
        "eight_bits::test_a_calibration_folder_without_inputs",
        "evaluate::test_evaluate_and_compare_classifiers",
        "evaluate::test_refused",
        "evaluate_several::test_by_command",
        "examples::test_service",
        "examples::test_service_that_is_busy",
        "golden::test_canonical_answers",
        "image_config::test_any_file",
        "image_config::test_without_a_file_the_export_says_what_it_assumed",
        "inputs::test_every_task_takes_them",
        "inputs::test_texts_from_generators",
        "inputs_video::test_a_video_file_is_a_clip_everywhere",
        "jobs::test_a_table_of_pictures",
        "jobs::test_csv",
        "jobs::test_map",
        "jobs::test_texts_and_features",
        "known_answer::test_rows_that_are_not_there",
        "remote_calls::test_a_server_that_is_away_for_a_while",
        "remote_calls::test_one_timeout_for_a_whole_call",
        "module_path::test_commands",
        "ort_providers::test_arrays_on_cuda",
        "report::test_a_report_on_a_cpu",
        "report::test_differences_are_measured",
        "results::test_every_task_s_result_is_json",
        "results::test_spans_fill_the_text",
        "serving::test_configs_fit_schema_and_graphs",
        "serving::test_versions",
        "shipped_checkpoint::test_synthetic_pairs_of_unseen_photographs",
        "site::test_the_site_builds",
        "signature::test_model_signing_reads_ours_and_we_read_its",
        "spectrogram::test_half_precision_keeps_the_spectrogram",
        "token_classifier::test_the_bundle_is_equal_to_torch",
        "video_commands::test_a_clip_and_its_sound_reconstructed",
        "video_commands::test_pictures_of_every_kind_are_clips",
    }
)

LONG = frozenset(  # of those, what repeats another with other numbers, or takes long for what it adds: in `make test-all` alone
    {
        "cli_export::test_force_replaces_a_bundle",
        "cli_export::test_interrupting_leaves_no_bundle[frames 2x2x3x61x83-2]",
        "cli_export::test_interrupting_leaves_no_bundle[frames 2x2x3x61x83-15]",
        "cli_export::test_interrupting_leaves_no_bundle[tracing encode-15]",
        "cli_export::test_interrupting_leaves_no_bundle[verifying-15]",
        "cli_export::test_killed_outright[verifying]",
        "clean_room::test_everything_imports_and_helps[3.12]",
        "clean_room::test_a_bundle_runs[3.12]",
        "export_graphs::test_one_export_runs_every_size[patches-368-496-1]",
        "heads_device::test_tiny[ImageClassificationConvProcessing]",
        "heads_device::test_tiny[ImageClassificationFourier]",
        "heads_device::test_tiny[ImageClassificationLearned]",
        "heads_device::test_tiny[MultimodalAutoencoding]",
        "load::test_a_stream_for_a_long_time",
        "own_inputs::test_saturated_classifiers_export[text-classification-fp16]",
        "tensorrt_run::test_known_answers[multimodal_bundle]",
        "triton::test_fifty_clients_while_a_version_is_swapped_and_a_worker_is_killed",
    }
)


def is_long(nodeid: str) -> bool:
    """Of a test, such as `tests/test_ray.py::test_texts[a]`."""
    return nodeid.rpartition("/")[2].replace(".py", "", 1).removeprefix("test_") in LONG


def is_slow(nodeid: str) -> bool:
    """Of a test, such as `tests/test_ray.py::test_texts[a]`."""
    path, _, test = nodeid.partition("[")[0].partition("::")
    name = path.rpartition("/")[2].removeprefix("test_").removesuffix(".py")
    return name in FILES or f"{name}::{test}" in TESTS
