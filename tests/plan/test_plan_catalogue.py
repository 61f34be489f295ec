from harness.plan.catalogue import beside, experiment_paths, name_of, scenario_path, service_paths


def test_a_scenario_is_named_or_its_path_is_given():
    assert scenario_path("stress-150") == "scenarios/stress-150.yaml"
    assert scenario_path("drills/zone.yaml") == "drills/zone.yaml"
    assert scenario_path("zone.yml") == "zone.yml"


def test_a_service_lies_beside_its_scenario():
    assert service_paths("shop", "scenarios/stress-150.yaml") == ("scenarios/services/shop.yaml",)
    assert service_paths("../shop.yaml", "scenarios/stress-150.yaml") == ("shop.yaml",)
    assert service_paths("shop", "zone.yaml") == ("services/shop.yaml",)
    assert service_paths("/etc/shop.yaml", "scenarios/stress-150.yaml") == ("/etc/shop.yaml",)


def test_an_experiment_lies_beside_the_scenario_or_beside_its_folder():
    assert experiment_paths("pod-delete", "scenarios/stress-150.yaml") == (
        "scenarios/experiments/pod-delete.yaml",
        "experiments/pod-delete.yaml",
    )
    assert experiment_paths("../chaos/x.json", "scenarios/stress-150.yaml") == ("chaos/x.json",)


def test_paths_in_a_file_are_relative_to_it():
    assert beside("scenarios/services/shop.yaml", "../locustfiles/shop.py") == "scenarios/locustfiles/shop.py"
    assert beside("/a/b/c.yaml", "../d") == "/a/d"


def test_a_file_is_named_by_its_stem():
    assert name_of("scenarios/stress-150.yaml") == "stress-150"
