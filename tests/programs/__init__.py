"""Programs that tests trace: C ones are compiled by the tests, Python ones run as they are."""
