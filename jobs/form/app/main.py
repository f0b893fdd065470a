"""A form as a CGI script: GET shows it, POST checks what was sent and repeats it. Only the standard library is used."""

import html
import os
import sys
from urllib.parse import parse_qs

MAX_BODY = 64 * 1024
STYLE = "body{font:1rem sans-serif;margin:2rem auto;max-width:30rem}label{display:block;margin:1rem 0}.error{color:#a00}"

PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1>
{content}
</body>
</html>
"""

FORM = """<form method="post" action="{action}" accept-charset="utf-8">
<label>Name <input name="name" value="{name}" maxlength="80"></label>
{name_error}
<label>Number of guests <input name="guests" value="{guests}" inputmode="numeric"></label>
{guests_error}
<label>Message <textarea name="message" rows="4">{message}</textarea></label>
{message_error}
<button>Send</button>
</form>"""

FIELDS = ("name", "guests", "message")


class BadRequest(Exception):
    """A request that no form has sent."""


def respond(status, title, content):
    page = PAGE.format(title=html.escape(title), style=STYLE, content=content).encode()
    head = f"Status: {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(page)}\r\n\r\n"
    sys.stdout.buffer.write(head.encode() + page)


def form(values, errors):
    """Returns the form with these values, and the errors below their fields. Everything is escaped."""
    parts = {name: html.escape(values.get(name, "")) for name in FIELDS}
    for name in FIELDS:
        error = errors.get(name)
        parts[f"{name}_error"] = f'<p class="error">{html.escape(error)}</p>' if error else ""
    action = os.environ.get("SCRIPT_NAME", "") + os.environ.get("PATH_INFO", "")
    return FORM.format(action=html.escape(action or "/"), **parts)


def read_values():
    """Returns the fields of the body."""
    kind = os.environ.get("CONTENT_TYPE", "").split(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadRequest("415 Unsupported Media Type", "Send the form as application/x-www-form-urlencoded.")
    body = sys.stdin.buffer.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise BadRequest("413 Content Too Large", f"The form has more than {MAX_BODY} bytes.")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        raise BadRequest("400 Bad Request", "The body is not a form in UTF-8.") from None
    return {name: fields.get(name, [""])[0].strip() for name in FIELDS}


def check(values):
    """Returns what is wrong, by field."""
    errors = {}
    if not values["name"]:
        errors["name"] = "Enter a name."
    elif len(values["name"]) > 80:
        errors["name"] = "A name has at most 80 characters."
    guests = values["guests"]
    if not (guests.isascii() and guests.isdigit() and len(guests) <= 2 and 1 <= int(guests) <= 20):
        errors["guests"] = "Enter a number from 1 to 20."
    if len(values["message"]) > 1000:
        errors["message"] = "A message has at most 1000 characters."
    return errors


def main():
    method = os.environ.get("REQUEST_METHOD", "GET")
    if method in ("GET", "HEAD"):
        respond("200 OK", "Guest book", form({}, {}))
    elif method == "POST":
        values = read_values()
        errors = check(values)
        if errors:
            respond("422 Unprocessable Content", "Guest book", form(values, errors))
        else:
            rows = "".join(f"<dt>{name}</dt><dd>{html.escape(values[name])}</dd>" for name in FIELDS)
            respond("200 OK", f"Thank you, {values['name']}", f"<dl>{rows}</dl>")
    else:
        sys.stdout.write("Status: 405 Method Not Allowed\r\nAllow: GET, HEAD, POST\r\nContent-Type: text/plain\r\n\r\n")
        sys.stdout.write("Use GET or POST.\n")


try:
    main()
except BadRequest as refused:
    status, message = refused.args
    respond(status, status, f"<p>{html.escape(message)}</p>")
