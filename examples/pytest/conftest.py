pytest_plugins = ["capsule.testing"]
