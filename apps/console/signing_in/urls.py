"""Sign-in and profile under /admin/, in front of the admin site's pages. Their names are those allauth asks for."""

from allauth.account import views as account
from allauth.socialaccount import views as socialaccount
from django.urls import include, path
from django.views.generic import RedirectView, TemplateView

from apps.console.signing_in import views
from apps.console.signing_in.setup import SetUp

urlpatterns = [
    path("setup/", SetUp.as_view(), name="console_setup"),
    path("login/", views.SignIn.as_view(), name="account_login"),
    path(
        "login/inactive/",
        TemplateView.as_view(template_name="account/account_inactive.html"),
        name="account_inactive",
    ),
    path("logout/", account.logout, name="account_logout"),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("oidc/<slug:provider_id>/login/", views.provider_sign_in, name="openid_connect_login"),
    path("oidc/<slug:provider_id>/login/callback/", views.provider_answer, name="openid_connect_callback"),
    path("oidc/cancelled/", socialaccount.login_cancelled, name="socialaccount_login_cancelled"),
    path("oidc/error/", socialaccount.login_error, name="socialaccount_login_error"),
    path("profile/", views.Profile.as_view(), name="console_profile"),
    path("profile/password/", views.ChangePassword.as_view(), name="account_change_password"),
    path("profile/password/set/", account.password_set, name="account_set_password"),
    path("profile/sessions/", views.Sessions.as_view(), name="usersessions_list"),
    path("profile/second-factor/", include("allauth.mfa.urls")),
    # Where Django's admin has it.
    path("password_change/", RedirectView.as_view(pattern_name="account_change_password")),
]
