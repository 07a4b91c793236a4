"""What the original study published, for the comparison: its figures, on its own data and its own split.

Source: janlight/Covid-19_X-ray_DL_project, its README and its three notebooks with their outputs. No figure here is
ours. Its test part: 619 images, 266 non-COVID and 353 COVID-19, split by image.
"""

from typing import Final

TEST_IMAGES: Final = {"non-COVID": 266, "COVID-19": 353}
"""Source: the notebooks' split, 20 % of 3,091 images."""

README_ACCURACY: Final = {"VGG16": 0.5703, "ResNet50": 0.4297, "NASNetLarge": 0.9289}
"""Test accuracy by backbone. Source: the README's table."""

NOTEBOOK_ACCURACY: Final = {
    "VGG16": {"backbone frozen": 0.9709},
    "ResNet50": {"after stage 1": 0.5703},
    "NASNetLarge": {"after stage 1": 0.9661, "after stage 2": 0.9289},
}
"""Test accuracy by backbone and moment of training. Source: the outputs of the notebooks."""

SWAPPED_F1: Final = {"reported": 0.91, "of COVID-19": 0.94}
"""F1 of NASNetLarge: what its classification report calls that of COVID-19, and what that is with the names in order.

Source: the NASNetLarge notebook, which passes the class names in the wrong order."""

WHAT_THE_NOTEBOOKS_SHOW: Final = (
    f"Of {sum(TEST_IMAGES.values())} test images {TEST_IMAGES['COVID-19']} were COVID-19 and "
    f"{TEST_IMAGES['non-COVID']} non-COVID: 353/619 = 0.5703 and 266/619 = 0.4297. The README's VGG16 and ResNet50 "
    "answered one class for every image.",
    "The README's figure for VGG16 equals that of ResNet50 after stage 1 in its notebook. The VGG16 notebook lacks the "
    f"second division by 255 and reached {NOTEBOOK_ACCURACY['VGG16']['backbone frozen']:.4f} with the backbone frozen, "
    "more than the study's winner.",
    f"NASNetLarge scored {NOTEBOOK_ACCURACY['NASNetLarge']['after stage 1']:.4f} after stage 1 and "
    f"{NOTEBOOK_ACCURACY['NASNetLarge']['after stage 2']:.4f} after stage 2; the study kept the second.",
    "Its classification report had the class names in the wrong order: the F1 of "
    f"{SWAPPED_F1['reported']:.2f} that it calls that of COVID-19 is that of non-COVID; that of COVID-19 is "
    f"{SWAPPED_F1['of COVID-19']:.2f}.",
    "Its split was by image, and its files are named as the images of a paediatric pneumonia set of 2018 (Kermany et "
    "al.), older than COVID-19.",
)
"""Sentences for a report."""
