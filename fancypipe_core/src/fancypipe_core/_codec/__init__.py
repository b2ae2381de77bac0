"""From objects to payloads and back, and what could not travel, in words."""
