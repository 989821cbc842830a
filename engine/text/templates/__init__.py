"""Chat templates: from messages to text, by code that came with the model and is not trusted.

- ``chat_template``     one model's template: messages, tools and variables in, text out
- ``final_message``     where the last message ends, so that an answer can go on with it
- ``limited_sandbox``   jinja2 without access to Python, bounded in size and time
- ``limited_compiler``  sends loops, calls and concatenations through the budget
- ``limited_filters``   filters that could grow or hang, bounded
- ``growth``            how large a value becomes, before it is made
- ``render_budget``     what one rendering has used of its time and size
"""
