"""Answers of a given form: what a grammar is, what is wrong with one, and how a step keeps to it.

- ``grammar``        JSON schemas, regular expressions and choices as one kind of text
- ``calls``          calls in the form of each family: forced, in free text, or instead of a form
- ``tagged_arguments``  arguments between tags, as some families write them
- ``lark``           rules in the library's dialect of Lark
- ``vocabulary``     a model's tokens as the library for grammars sees them
- ``subschemas``     the schemas inside a JSON schema
- ``unsupported``    what the library takes and does not keep: mended, or refused with its place
- ``control_characters``  those that JSON has no letter for
- ``vetting``        whether a grammar can be had, found out where it can do no harm
- ``fault_place``    where in a refused schema the fault is
- ``compiler``       grammars ready for use, made on a thread beside the steps
- ``row_grammars``   where each row of the batch stands in its grammar, and the tokens it may take

The library is llguidance: lazy automata, byte-exact, no torch. See docs/decisions/0010.
"""
