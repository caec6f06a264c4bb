"""How operators sign in: django-allauth under /admin/, with our rules, words and audit rows."""
