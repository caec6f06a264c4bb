import requests
import os

API_URL = "http://localhost:8003/api"
VIRTUAL_KEY = os.environ["SAAS_LITELLM_VIRTUAL_KEY"]
TEAM_ID = os.environ["SAAS_LITELLM_TEAM_ID"]

headers = {
    "Authorization": f"Bearer {VIRTUAL_KEY}",
    "Content-Type": "application/json"
}

def check_credits():
    """Check team credit balance"""

    # Get team info
    response = requests.get(
        f"{API_URL}/teams/{TEAM_ID}",
        headers=headers
    )

    team = response.json()

    print(f"Team: {team['team_id']}")
    print(f"Organization: {team['organization_id']}")
    print(f"Status: {team['status']}")
    print(f"Credits allocated: {team['credits_allocated']}")
    print(f"Credits remaining: {team['credits_remaining']}")

    # Calculate usage
    credits_used = team['credits_allocated'] - team['credits_remaining']
    usage_percent = (credits_used / team['credits_allocated']) * 100

    print(f"Credits used: {credits_used}")
    print(f"Usage: {usage_percent:.1f}%")

    # Warnings
    if team['credits_remaining'] < team['credits_allocated'] * 0.1:
        print("\n⚠️  WARNING: Less than 10% of credits remaining!")

if __name__ == "__main__":
    check_credits()
