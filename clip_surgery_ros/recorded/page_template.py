"""The HTML of the pages about recorded bags, for Jinja, which escapes all values."""

HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ heading }}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2024; background: #fff;
 max-width: 1100px; margin: 24px auto; padding: 0 16px; }
h1 { font-size: 24px; } h2 { font-size: 19px; margin-top: 36px; } h3 { font-size: 16px; }
table { border-collapse: collapse; }
th, td { padding: 4px 12px; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #c8cdd2; } td { border-bottom: 1px solid #e6e8eb; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px;
 margin-right: 7px; }
.pictures { display: flex; flex-wrap: wrap; gap: 10px; }
figure { margin: 0; } figure img { display: block; border-radius: 3px; max-width: 100%; }
.overview figure { width: 250px; } .overview img { width: 250px; height: auto; }
figcaption, .note { color: #5a626a; font-size: 13px; }
.gone { width: 150px; height: 100px; background: #eceef0; border-radius: 3px; }
svg { display: block; background: #f4f5f6; max-width: 100%; }
</style>
</head>
<body>
<h1>{{ heading }}</h1>
"""
"""The beginning of every page."""

PICTURES = """
{% macro pictures(list) %}
<div class="pictures">
{% for picture in list %}
<figure>{% if picture.uri %}<img src="{{ picture.uri }}" alt="{{ picture.caption }}">{% else %}
<div class="gone"></div>{% endif %}<figcaption>{{ picture.caption }}</figcaption></figure>
{% endfor %}
</div>
{% endmacro %}
"""
"""Shows a list of pictures with captions."""

TEMPLATE = (
    HEAD
    + PICTURES
    + """<p>{{ labelled }} images labelled, {{ skipped_count }} skipped.</p>

<table>
<tr><th>label</th><th class="n">images</th><th class="n">objects</th><th class="n">ids</th>
<th class="n">mean score</th></tr>
{% for label in labels %}
<tr><td><span class="swatch" style="background:{{ label.colour }}"></span>{{ label.name }}</td>
<td class="n">{{ label.row.images }}</td><td class="n">{{ label.row.objects }}</td>
<td class="n">{{ label.row.ids }}</td><td class="n">{{ label.row.mean }}</td></tr>
{% endfor %}
</table>

<h2>Counts over time</h2>
<p class="note">Objects in an image, the mean of each section of a bag. The highest bar has the
number beside the label. Sections without images are blank.</p>
{% for bag in bags %}
<h3>{{ bag.name }}, {{ "%.1f" % bag.seconds }} s</h3>
<table>
{% for row in bag.rows %}
{% set label = labels[row.index] %}
<tr><td><span class="swatch" style="background:{{ label.colour }}"></span>{{ label.name }}</td>
<td class="n">{{ "%.1f" % row.most }}</td>
<td><svg width="{{ width }}" height="{{ height }}" role="img">
<title>{{ label.name }} in {{ bag.name }}</title>
{% for x, bar in row.bars %}
<rect x="{{ x }}" y="{{ height - 2 }}" width="{{ bag.bar }}" height="2" fill="#d3d7db"/>
{% if bar %}
<rect x="{{ x }}" y="{{ height - bar }}" width="{{ bag.bar }}" height="{{ bar }}"
 fill="{{ label.colour }}"/>
{% endif %}
{% endfor %}
</svg></td></tr>
{% endfor %}
</table>
{% endfor %}
{% if more_bags %}
<p class="note">{{ more_bags }} more bags are not drawn; coco.json has all.</p>
{% endif %}

<h2>Best and worst examples</h2>
<p class="note">By score, one picture of each object.</p>
{% for label in labels if label.best %}
<h3><span class="swatch" style="background:{{ label.colour }}"></span>{{ label.name }}</h3>
<p class="note">highest scores</p>
{{ pictures(label.best) }}
<p class="note">lowest scores</p>
{{ pictures(label.worst) }}
{% endfor %}

<h2>Overview</h2>
<div class="overview">{{ pictures(overview) }}</div>

<h2>Absent labels</h2>
<table>
<tr><th>label</th><th class="n">images</th><th>reason, as of the first of these images</th></tr>
{% for label in labels %}{% for count, reason in label.reasons %}
<tr><td>{{ label.name if loop.first }}</td><td class="n">{{ count }}</td><td>{{ reason }}</td></tr>
{% endfor %}{% endfor %}
</table>

{% if skipped or unreadable %}
<h2>Left out</h2>
<table>
{% for reason in unreadable %}<tr><td>a file</td><td>{{ reason }}</td></tr>
{% endfor %}
{% for frame in skipped %}<tr><td>{{ frame.name }}</td><td>{{ frame.error }}</td></tr>
{% endfor %}
</table>
{% if skipped_count > skipped | length %}
<p class="note">{{ skipped_count - skipped | length }} more; coco.json has all.</p>{% endif %}
{% endif %}
</body>
</html>
"""
)
"""About labelled bags."""

SEARCH_TEMPLATE = (
    HEAD
    + PICTURES
    + """<p>Images indexed: {{ images }}.</p>
<p class="note">The number before the bag is presence, from 0 to 1; the time is that of the
recording.
{% if maps %}Maps go from blue, each map's lowest value, to red, its highest.{% endif %}</p>
{% for label in labels %}
<h2>{{ label.name }}</h2>
{% if label.note %}<p class="note">{{ label.note }}</p>{% endif %}
<div class="overview">{{ pictures(label.pictures) }}</div>
{% endfor %}

<h2>Bags</h2>
<table>
<tr><th>name</th><th>topic</th><th>folder or file</th></tr>
{% for bag in bags %}
<tr><td>{{ bag.name }}</td><td>{{ bag.topic }}</td><td>{{ bag.path }}</td></tr>
{% endfor %}
</table>
</body>
</html>
"""
)
"""About the answers of an index."""
