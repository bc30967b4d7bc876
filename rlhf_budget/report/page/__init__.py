"""One page of everything: neutral content, its charts, and a template that shows both."""
