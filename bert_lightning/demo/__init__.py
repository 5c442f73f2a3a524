"""A page in the browser to play with one model, or with two side by side; needs Gradio."""
