"""The classes that the network tells apart, in the order of its outputs."""

CLASSES = ("glioma", "meningioma", "no_tumor", "pituitary")
NO_TUMOR = "no_tumor"
# A tumour whose kind nobody wrote down. Not a class: such images can be audited, and serve to
# evaluate "tumour or none", but nothing can learn a kind from them.
TUMOR = "tumor"
LABELS = (*CLASSES, TUMOR)
# As people read them; `tumor` is any of the three.
DISPLAY_NAMES = {
    "glioma": "glioma",
    "meningioma": "meningioma",
    "no_tumor": "no tumour",
    "pituitary": "pituitary",
    "tumor": "any tumour",
}
