//! Worked problems that come before the one that is asked, written for this project: no benchmark has them.

/// The shots of `gsm8k-base-4-shot/1`, in the form of GSM8K's own answers.
pub(super) const GSM8K_SHOTS: &str = "\
Question: A baker fills 6 trays with 12 rolls each. She sells 57 rolls in the morning and bakes 20 more at noon. How many rolls does she \
have after that?
Answer: She bakes 6 * 12 = 72 rolls. After the morning she has 72 - 57 = 15 rolls. With those of noon she has 15 + 20 = 35 rolls.
#### 35

Question: Omar saves $15 a week. A bicycle costs $240, and his aunt pays a quarter of it. For how many weeks does he have to save?
Answer: His aunt pays 240 / 4 = 60 dollars. Omar has to pay 240 - 60 = 180 dollars. He has to save for 180 / 15 = 12 weeks.
#### 12

Question: A train has 8 cars with 45 seats each. 80% of the seats are taken, and a third of those who sit are children. How many children \
sit in the train?
Answer: The train has 8 * 45 = 360 seats. Of these 360 * 80 / 100 = 288 are taken. 288 / 3 = 96 of those who sit are children.
#### 96

Question: Lena reads 24 pages a day for 5 days, and twice as many pages a day on each of the next 2 days. Her book has 300 pages. How many \
pages are left?
Answer: In 5 days she reads 24 * 5 = 120 pages. On each of the next 2 days she reads 24 * 2 = 48 pages, which makes 48 * 2 = 96 pages. She \
has read 120 + 96 = 216 pages. 300 - 216 = 84 pages are left.
#### 84

";
