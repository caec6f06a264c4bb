import requests
import os

API_URL = "http://localhost:8003/api"
VIRTUAL_KEY = os.environ["SAAS_LITELLM_VIRTUAL_KEY"]
TEAM_ID = os.environ["SAAS_LITELLM_TEAM_ID"]

headers = {
    "Authorization": f"Bearer {VIRTUAL_KEY}",
    "Content-Type": "application/json"
}

def analyze_document(document_text: str):
    """Analyze a document: extract key points, generate summary"""

    # Create job
    job_response = requests.post(
        f"{API_URL}/jobs/create",
        headers=headers,
        json={
            "team_id": TEAM_ID,
            "job_type": "document_analysis",
            "metadata": {"document_length": len(document_text)}
        }
    )
    job_id = job_response.json()["job_id"]
    print(f"Analyzing document (Job ID: {job_id})...\n")

    # Step 1: Extract key points
    print("Extracting key points...")
    key_points_response = requests.post(
        f"{API_URL}/jobs/{job_id}/llm-call",
        headers=headers,
        json={
            "messages": [
                {
                    "role": "system",
                    "content": "Extract key points as bullet points."
                },
                {
                    "role": "user",
                    "content": f"Extract key points from:\n\n{document_text}"
                }
            ],
            "temperature": 0.3,
            "max_tokens": 500
        }
    ).json()

    key_points = key_points_response["response"]["content"]
    print(f"Key Points:\n{key_points}\n")

    # Step 2: Generate summary
    print("Generating summary...")
    summary_response = requests.post(
        f"{API_URL}/jobs/{job_id}/llm-call",
        headers=headers,
        json={
            "messages": [
                {
                    "role": "system",
                    "content": "Create concise summaries."
                },
                {
                    "role": "user",
                    "content": f"Summarize in 2-3 sentences:\n\n{document_text}"
                }
            ],
            "temperature": 0.5,
            "max_tokens": 200
        }
    ).json()

    summary = summary_response["response"]["content"]
    print(f"Summary:\n{summary}\n")

    # Complete job
    result = requests.post(
        f"{API_URL}/jobs/{job_id}/complete",
        headers=headers,
        json={"status": "completed"}
    ).json()

    print(f"Analysis complete!")
    print(f"Total calls: {result['costs']['total_calls']}")
    print(f"Credits remaining: {result['costs']['credits_remaining']}")

    return {
        "key_points": key_points,
        "summary": summary
    }

if __name__ == "__main__":
    document = """
    Artificial intelligence (AI) is transforming industries worldwide.
    Machine learning algorithms can now process vast amounts of data
    and identify patterns that humans might miss. This technology is
    being applied in healthcare for disease diagnosis, in finance for
    fraud detection, and in transportation for autonomous vehicles.
    """

    result = analyze_document(document)
