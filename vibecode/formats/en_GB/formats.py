"""As a warehouse reads them: 24 hours, which sort and line up. What is not here is as Django has it."""

DATETIME_FORMAT = "j M Y, H:i"
TIME_FORMAT = "H:i"
