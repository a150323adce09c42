"""`capsule report`: one run as one HTML page. Pure: records and a verdict in, a page out.

`model` gathers what the page's script works on, `words` says the run in sentences, `page` puts
both into the template. Text of the log enters the page in two ways only: autoescaped by Jinja,
and inside deflated base64 that the script decodes and sets as `textContent`.
"""
