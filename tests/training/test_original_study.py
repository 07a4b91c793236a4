from training.original_study import NOTEBOOK_ACCURACY, README_ACCURACY, TEST_IMAGES, WHAT_THE_NOTEBOOKS_SHOW


def test_the_collapsed_models_scored_the_share_of_a_class() -> None:
    images = sum(TEST_IMAGES.values())
    assert README_ACCURACY["VGG16"] == round(TEST_IMAGES["COVID-19"] / images, 4)
    assert README_ACCURACY["ResNet50"] == round(TEST_IMAGES["non-COVID"] / images, 4)


def test_the_notebooks_are_told_beside_the_readme() -> None:
    assert README_ACCURACY.keys() == NOTEBOOK_ACCURACY.keys()
    assert NOTEBOOK_ACCURACY["VGG16"]["backbone frozen"] > max(README_ACCURACY.values())
    told = " ".join(WHAT_THE_NOTEBOOKS_SHOW)
    for figure in ("0.9709", "0.9661", "0.9289", "0.91", "0.94", "one class", "wrong order"):
        assert figure in told
