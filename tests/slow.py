"""What `make test` leaves to `make test-more`: files and tests that took ten seconds and more on two quiet cores.

`pytest --durations=40` says what has become slow. Markers in the files themselves are for what is in `make test-all` alone.
"""

FILES = frozenset(
    {
        "clean_room",
        "detection_and_questions",
        "device",
        "eight_bits_tensorrt",
        "export_graphs",
        "faults",
        "flow_reference",
        "foreign_attention",
        "from_transformers",
        "heads_device",
        "jetson_page",
        "load",
        "openvino",
        "outside_task",
        "own_heads",
        "own_inputs",
        "passes_cuda",
        "passes_fold",
        "passes_tensorrt",
        "precision",
        "ray",
        "shipped_clips",
        "shipped_digits",
        "shipped_fields",
        "shipped_text",
        "sound_and_video",
        "telemetry",
        "tensorrt_graphs",
        "tensorrt_rtx",
        "tensorrt_run",
        "token_classification",
        "triton",
        "which_gpu",
    }
)
TESTS = frozenset(
    {
        "added_tokens::test_a_bundle_answers_as_transformers",
        "amounts::test_a_clip_in_a_budget",
        "checkpoint_folders::test_the_task_is_the_checkpoints_own",
        "cli_export::test_a_crash_of_the_child_is_a_failed_verification",
        "cli_export::test_a_failed_verification_is_exit_code_3",
        "cli_export::test_a_missing_memory_plan_is_said",
        "cli_export::test_export_by_command",
        "cli_export::test_force_replaces_a_bundle",
        "cli_export::test_interrupting_leaves_no_bundle",
        "cli_export::test_killed_outright",
        "cli_export::test_the_shipped_checkpoint_is_announced",
        "cli_export::test_verification_imports_nothing_from_the_checkpoint",
        "cli_paths::test_one_bad_picture_among_three",
        "cli_paths::test_one_bad_text_among_three",
        "eight_bits::test_a_calibration_folder_without_inputs",
        "evaluate::test_evaluate_and_compare_classifiers",
        "evaluate::test_refused",
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
        "report::test_a_report_on_a_cpu",
        "report::test_differences_are_measured",
        "results::test_every_task_s_result_is_json",
        "results::test_spans_fill_the_text",
        "serving::test_configs_fit_schema_and_graphs",
        "serving::test_versions",
        "shipped_checkpoint::test_synthetic_pairs_of_unseen_photographs",
        "token_classifier::test_the_bundle_is_equal_to_torch",
        "video_commands::test_a_clip_and_its_sound_reconstructed",
        "video_commands::test_pictures_of_every_kind_are_clips",
    }
)


def is_slow(nodeid: str) -> bool:
    """Of a test, such as `tests/test_ray.py::test_texts[a]`."""
    path, _, test = nodeid.partition("[")[0].partition("::")
    name = path.rpartition("/")[2].removeprefix("test_").removesuffix(".py")
    return name in FILES or f"{name}::{test}" in TESTS
