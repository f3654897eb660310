"""The classes that the network tells apart, in the order of its outputs."""

CLASSES = ("glioma", "meningioma", "no_tumor", "pituitary")
NO_TUMOR = "no_tumor"
# As people read them; `tumor` is any of the three.
DISPLAY_NAMES = {
    "glioma": "glioma",
    "meningioma": "meningioma",
    "no_tumor": "no tumour",
    "pituitary": "pituitary",
    "tumor": "any tumour",
}
