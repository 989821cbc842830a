"""`WORDS`: common English words, which most tokenizers hold as one token each."""

from __future__ import annotations

_TEXT = """
the of and to in is was he for it with as his on be at by had not are but from or have an they which
one you were all her she there would their we him been has when who will no more if out so up said
what its about than into them can only other time new some could these two may first then do any
like my now over such our man me even most made after also did many off before must well back
through years much where your way down should because long each just state those people too how
little good world make very year still see work life men day get here old between both under last
never place same another think house while high right might came great three go come home part used
against take himself few hand thing give use again school public number small side fact going found
left look night end why always water called head week young business power city light form order
name door open large area close mind family land line second turn road seem body group free real
full short half party sense member level kind hope court field love book white black green red blue
cold hot dark deep ground ago given early voice air need keep face want play change set run hard
local able ask late big feel study plan view moment past future south north east west president
during without however national system since program question interest money history human office
course policy report result reason matter problem town car job service church company market law
girl boy child children woman women mother father son brother sister friend king paper letter word
language story song music art film picture color river sea ship fire wind rain snow sun moon star
tree animal horse dog bird fish food bread table room window wall floor chair bed street garden farm
hill mountain island forest stone gold silver iron glass machine engine train wheel board box key
bag coat dress shoe hat ring heart bone eye ear nose mouth arm leg foot hair skin doctor nurse
teacher student class test science nature space earth sound noise game team player ball race peace
force plant seed flower fruit grass leaf root corn rice milk meat salt sugar oil tea coffee wine cup
spring summer winter morning evening hour minute month today tomorrow yesterday age birth speak tell
talk read write learn teach know understand believe remember forget decide choose start begin stop
finish move stand sit walk drive fly swim fall rise grow build break cut pull push hold carry bring
send receive buy sell pay spend save win lose meet leave stay live help serve lead follow watch
listen hear touch smell taste sleep wake dream laugh cry smile sing dance answer call cover cross
draw drink eat enter fill fit join jump mark pass pick point rest ride roll shake
"""

WORDS: tuple[str, ...] = tuple(_TEXT.split())
