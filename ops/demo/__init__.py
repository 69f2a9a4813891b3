"""The main job: a fleet that serves a real trace of requests, every step of it signed, published and checked."""
